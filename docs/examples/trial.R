# What the examples share: released tables with the group of each subject, and messages in place of a traceback.
sentence <- function(text) {
  message(text)
  quit(save = "no", status = 1)
}

read_trial <- function(table, randomisation) {
  for (file in c(table, randomisation)) if (!file.exists(file)) sentence(paste("expected", basename(file), "found none"))
  text <- c(site = "character", subject = "character")
  measured <- read.csv(table, colClasses = text, na.strings = "")
  randomised <- read.csv(randomisation, colClasses = text)[c("site", "subject", "group")]
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
