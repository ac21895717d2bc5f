# The model of mixed_effects.py (Laplace's approximation), fitted by glmmTMB: the witness.
#
#   Rscript docs/examples/mixed_effects.R RELEASED/lesion_timepoints.csv RANDOMISATION.csv REFERENCE [ENDPOINT ...]
#
# Debian and Ubuntu: apt-get install r-cran-glmmtmb. Prints CSV: analysis, quantity, value.
source(file.path(dirname(sub("--file=", "", grep("--file=", commandArgs(), value = TRUE))), "trial.R"))
suppressPackageStartupMessages(library(glmmTMB))
argument <- commandArgs(trailingOnly = TRUE)
if (length(argument) < 3) sentence("expected TIMEPOINTS RANDOMISATION REFERENCE [ENDPOINT ...], found other arguments")
endpoints <- if (length(argument) > 3) argument[-(1:3)] else "gel_count"
weeks <- c(4, 12, 24)

table <- read_trial(argument[1], argument[2])
require_columns(table, argument[1], c("visit", "week", "reference_visit", "gel_count", endpoints))
table$id <- paste(table$site, table$subject)
reference <- table$week[match(paste(table$id, table$reference_visit), paste(table$id, table$visit))]
start <- table[table$week == 0, ]

visits_of <- function(endpoint) {
  visits <- data.frame(
    id = table$id,
    group = table$group,
    week = table$week,
    baseline = start$gel_count[match(table$id, start$id)],
    count = table[[endpoint]],
    # GEL are counted at each visit; changes accumulate over the weeks between visits
    exposure = if (endpoint == "gel_count") 1 else table$week - reference
  )
  visits <- visits[visits$week %in% weeks, ]
  visits[complete.cases(visits), ]
}

fit_of <- function(visits) {
  visits$other <- as.numeric(visits$group != argument[3])
  visits$week <- factor(visits$week)
  model <- count ~ other + baseline + offset(log(exposure)) + (1 | id)
  if (nlevels(visits$week) > 1) model <- update(model, . ~ . + week)
  control <- glmmTMBControl(optCtrl = list(iter.max = 1000, eval.max = 1000, rel.tol = 1e-14))
  tryCatch(
    suppressWarnings(glmmTMB(model, data = visits, family = nbinom2, control = control)),
    error = function(e) NULL
  )
}

cat("analysis,quantity,value\n")
for (endpoint in endpoints) {
  visits <- visits_of(endpoint)
  fault <- fault_of_groups(visits, argument[3])
  if (fault == "" && max(table(visits$id)) < 2) fault <- "expected subjects with at least two visits, found none"
  if (fault == "") {
    fit <- fit_of(visits)
    sd <- if (is.null(fit)) 0 else attr(VarCorr(fit)$cond$id, "stddev")
    if (is.null(fit) || !isTRUE(fit$sdr$pdHess) || sd < 1e-3 || sigma(fit) > 1e4)
      fault <- "expected a likelihood with a maximum, found none: too few visits or lesions, or subjects that do not differ"
  }
  if (fault != "") {
    message(endpoint, ": no result: ", fault)
    next
  }
  coefficients <- coef(summary(fit))$cond
  names <- rownames(coefficients)
  names <- sub("^other$", "group", sub("^\\(Intercept\\)$", "intercept", names))
  week <- grepl("^week", names)
  names[week] <- sprintf("week_%02d", as.integer(sub("^week", "", names[week])))
  rownames(coefficients) <- names
  say(endpoint, "n_subjects", length(unique(visits$id)))
  say(endpoint, "n_visits", nrow(visits))
  say(endpoint, "theta", sigma(fit))
  say(endpoint, "sd", sd)
  say(endpoint, "log_likelihood", as.numeric(logLik(fit)))
  for (term in names) {
    say(endpoint, paste0("coefficient_", term), coefficients[term, "Estimate"])
    say(endpoint, paste0("standard_error_", term), coefficients[term, "Std. Error"])
  }
  say(endpoint, "p_group", coefficients["group", "Pr(>|z|)"])
  ends <- coefficients["group", "Estimate"] + c(0, -1, 1) * qnorm(0.975) * coefficients["group", "Std. Error"]
  say(endpoint, "rate_ratio", exp(ends[1]))
  say(endpoint, "rate_ratio_low", exp(ends[2]))
  say(endpoint, "rate_ratio_high", exp(ends[3]))
}
