# The model of primary_analysis.py, fitted by MASS::glm.nb: the witness.
#
#   Rscript docs/examples/primary_analysis.R RELEASED/endpoints.csv RANDOMISATION.csv REFERENCE [ENDPOINT]
#
# Debian and Ubuntu: apt-get install r-base-core r-cran-mass. Prints CSV: population, quantity, value.
suppressPackageStartupMessages(library(MASS))
argument <- commandArgs(trailingOnly = TRUE)
stopifnot(length(argument) %in% 3:4)
endpoint <- if (length(argument) == 4) argument[4] else "gel_count_wk04_12_24"
# GEL are counted at each visit; changes accumulate over the weeks between visits
offset_name <- paste0(endpoint, if (startsWith(endpoint, "gel_count")) "_visits" else "_weeks")
text <- c(site = "character", subject = "character")
endpoints <- read.csv(argument[1], colClasses = text)
randomised <- read.csv(argument[2], colClasses = text)
trial <- merge(randomised[c("site", "subject", "group")], endpoints, by = c("site", "subject"))
stopifnot(nrow(trial) == nrow(endpoints), !anyDuplicated(randomised[c("site", "subject")]))

say <- function(population, quantity, value) cat(sprintf("%s,%s,%.10g\n", population, quantity, value))
cat("population,quantity,value\n")
for (population in c("available", "complete")) {
  subjects <- data.frame(
    count = trial[[paste0(endpoint, "_", population)]],
    exposure = trial[[offset_name]],
    baseline = trial$gel_count_wk00,
    group = as.numeric(trial$group != argument[3])
  )
  subjects <- subjects[complete.cases(subjects), ]
  fit <- glm.nb(count ~ group + baseline + offset(log(exposure)), data = subjects,
                control = glm.control(epsilon = 1e-12, maxit = 200))
  stopifnot(fit$converged, is.null(fit$th.warn))
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
