# The models of volumes.py by R's lm: the witness.
#
#   Rscript docs/examples/volumes.R RELEASED/endpoints.csv RANDOMISATION.csv REFERENCE [ZERO_ML]
#
# Prints CSV: analysis, quantity, value.
source(file.path(dirname(sub("--file=", "", grep("--file=", commandArgs(), value = TRUE))), "trial.R"))
argument <- commandArgs(trailingOnly = TRUE)
if (!length(argument) %in% 3:4) sentence("expected ENDPOINTS RANDOMISATION REFERENCE [ZERO_ML], found other arguments")
zero_ml <- if (length(argument) == 4) as.numeric(argument[4]) else 0.007 # half of the smallest lesion of 14 mm3
trial <- read_trial(argument[1], argument[2])

responses <- list()
for (measure in c("t2_volume_ml", "bh_volume_ml")) {
  for (week in c("wk24", "wk48")) responses[[paste(measure, week, sep = "_")]] <- paste(measure, week, sep = "_")
  for (weeks in list(c("wk00", "wk24"), c("wk24", "wk48")))
    responses[[paste(c(measure, "change", weeks), collapse = "_")]] <- rev(paste(measure, weeks, sep = "_"))
}

require_columns(trial, argument[1], unlist(responses))

cat("analysis,quantity,value\n")
for (name in names(responses)) {
  volumes <- trial[c("group", responses[[name]])]
  volumes <- volumes[complete.cases(volumes), ]
  logs <- lapply(volumes[-1], function(volume) log(ifelse(volume > 0, volume, zero_ml)))
  subjects <- data.frame(group = volumes$group, response = if (length(logs) == 2) logs[[1]] - logs[[2]] else logs[[1]])
  fault <- fault_of_groups(subjects, argument[3])
  if (fault == "" && min(table(subjects$group)) < 2)
    fault <- sprintf("expected at least 2 subjects in each group, found %d in one", min(table(subjects$group)))
  if (fault == "" && all(abs(subjects$response - ave(subjects$response, subjects$group)) < 1e-9))
    fault <- "expected volumes that vary within the groups, found equal ones"
  if (fault != "") {
    message(name, ": no analysis: ", fault)
    next
  }
  subjects$other <- as.numeric(subjects$group != argument[3])
  fit <- lm(response ~ other, data = subjects)
  test <- anova(fit)
  limits <- confint(fit)["other", ]
  say(name, "zeros", sum(volumes[-1] == 0))
  say(name, "n", nrow(subjects))
  say(name, "f", test["other", "F value"])
  say(name, "df", test["Residuals", "Df"])
  say(name, "p", test["other", "Pr(>F)"])
  say(name, "ratio", exp(coef(fit)[["other"]]))
  say(name, "ratio_low", exp(limits[1]))
  say(name, "ratio_high", exp(limits[2]))
  say(name, "mean_reference", exp(coef(fit)[["(Intercept)"]]))
  say(name, "mean_other", exp(sum(coef(fit))))
}
