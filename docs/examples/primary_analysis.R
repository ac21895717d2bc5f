# The model of primary_analysis.py, fitted by MASS::glm.nb: the witness.
#
#   Rscript docs/examples/primary_analysis.R RELEASED/endpoints.csv RANDOMISATION.csv REFERENCE [ENDPOINT]
#
# Debian and Ubuntu: apt-get install r-base-core r-cran-mass. Prints CSV: population, quantity, value.
suppressPackageStartupMessages(library(MASS))
source(file.path(dirname(sub("--file=", "", grep("--file=", commandArgs(), value = TRUE))), "trial.R"))
argument <- commandArgs(trailingOnly = TRUE)
if (!length(argument) %in% 3:4) sentence("expected ENDPOINTS RANDOMISATION REFERENCE [ENDPOINT], found other arguments")
endpoint <- if (length(argument) == 4) argument[4] else "gel_count_wk04_12_24"
# GEL are counted at each visit; changes accumulate over the weeks between visits
offset_name <- paste0(endpoint, if (startsWith(endpoint, "gel_count")) "_visits" else "_weeks")
trial <- read_trial(argument[1], argument[2])
require_columns(trial, argument[1], c("gel_count_wk00", offset_name, paste0(endpoint, c("_available", "_complete"))))

cat("population,quantity,value\n")
for (population in c("available", "complete")) {
  subjects <- data.frame(
    count = trial[[paste0(endpoint, "_", population)]],
    exposure = trial[[offset_name]],
    baseline = trial$gel_count_wk00,
    group = trial$group
  )
  subjects <- subjects[complete.cases(subjects), ]
  fault <- fault_of_groups(subjects, argument[3])
  if (fault != "") {
    message(population, ": no result: ", fault)
    next
  }
  subjects$group <- as.numeric(subjects$group != argument[3])
  fit <- tryCatch(
    suppressWarnings(glm.nb(count ~ group + baseline + offset(log(exposure)), data = subjects,
                            control = glm.control(epsilon = 1e-12, maxit = 200))),
    error = function(e) NULL
  )
  if (is.null(fit) || !fit$converged || !is.null(fit$th.warn) || anyNA(coef(fit))) {
    message(population, ": no result: expected overdispersed counts and baselines that differ, found others")
    next
  }
  table <- coef(summary(fit))
  say(population, "n", nrow(subjects))
  for (term in rownames(table)) {
    name <- if (term == "(Intercept)") "intercept" else term
    say(population, paste0("coefficient_", name), table[term, "Estimate"])
    say(population, paste0("standard_error_", name), table[term, "Std. Error"])
  }
  ends <- table["group", "Estimate"] + c(0, -1, 1) * qnorm(0.975) * table["group", "Std. Error"]
  say(population, "rate_ratio", exp(ends[1]))
  say(population, "rate_ratio_low", exp(ends[2]))
  say(population, "rate_ratio_high", exp(ends[3]))
  say(population, "p_group", table["group", "Pr(>|z|)"])
  say(population, "theta", fit$theta)
  say(population, "log_likelihood", fit$twologlik / 2)
}
