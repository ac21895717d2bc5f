# What the examples share: released tables with the group of each subject, and messages in place of a traceback.
sentence <- function(text) {
  message(text)
  quit(save = "no", status = 1)
}

require_columns <- function(table, file, columns) {
  lacking <- setdiff(columns, names(table))
  if (length(lacking))
    sentence(sprintf("%s: expected columns separated by commas, found none named %s", basename(file), paste(lacking, collapse = ", ")))
}

# trial numbers may begin with zeros
read_text <- function(file, columns) {
  table <- tryCatch(suppressWarnings(read.csv(file, colClasses = c(site = "character", subject = "character"), na.strings = "")),
                    error = function(e) sentence(sprintf("%s: expected CSV, found none that can be read", basename(file))))
  require_columns(table, file, columns)
  table
}

read_trial <- function(table, randomisation) {
  for (file in c(table, randomisation)) if (!file.exists(file)) sentence(paste("expected", basename(file), "found none"))
  measured <- read_text(table, c("site", "subject"))
  randomised <- read_text(randomisation, c("site", "subject", "group"))[c("site", "subject", "group")]
  if (anyDuplicated(randomised[c("site", "subject")])) sentence("expected every subject once in the list, found one twice")
  trial <- merge(randomised, measured, by = c("site", "subject"))
  if (nrow(trial) != nrow(measured)) sentence("expected every subject in the randomisation list, found some that are not")
  trial
}

# "" if the two groups can be compared, else the reason
fault_of_groups <- function(subjects, reference) {
  groups <- sort(unique(subjects$group))
  if (length(groups) != 2 || !reference %in% groups)
    return(sprintf("expected two groups, one of them %s, found %s", reference, paste(groups, collapse = ", ")))
  if ("count" %in% names(subjects) && min(tapply(subjects$count, subjects$group, sum)) == 0)
    return("expected lesions in both groups, found none in one")
  ""
}

say <- function(analysis, quantity, value) cat(sprintf("%s,%s,%.10g\n", analysis, quantity, value))
