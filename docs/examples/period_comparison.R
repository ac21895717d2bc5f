# The tests of period_comparison.py by R's wilcox.test: the witness.
#
#   Rscript docs/examples/period_comparison.R RELEASED/endpoints.csv RANDOMISATION.csv
#
# Prints CSV: analysis (measure and group), quantity, value.
source(file.path(dirname(sub("--file=", "", grep("--file=", commandArgs(), value = TRUE))), "trial.R"))
argument <- commandArgs(trailingOnly = TRUE)
if (length(argument) != 2) sentence("expected ENDPOINTS RANDOMISATION, found other arguments")
trial <- read_trial(argument[1], argument[2])

comparisons <- list()
for (measure in c("gel_count", "gel_volume_ml", "combined_unique_active_count", "new_or_enlarging_t2_count"))
  comparisons[[measure]] <- paste0(measure, c("_wk04_12_24_complete", "_wk28_36_48_complete"))
for (measure in c("t2_volume_ml", "bh_volume_ml"))
  for (weeks in list(c("wk00", "wk24"), c("wk24", "wk48")))
    comparisons[[paste(c(measure, weeks), collapse = "_")]] <- paste(measure, weeks, sep = "_")

require_columns(trial, argument[1], unlist(comparisons))

cat("analysis,quantity,value\n")
for (name in names(comparisons)) for (group in sort(unique(trial$group))) {
  analysis <- paste(name, group)
  pairs <- trial[trial$group == group, comparisons[[name]]]
  pairs <- pairs[complete.cases(pairs), ]
  difference <- round(pairs[[2]] - pairs[[1]], 6)
  different <- sum(difference != 0)
  if (different < 6) {
    message(sprintf("%s: no test: expected at least 6 subjects whose two numbers differ, found %d of %d",
                    analysis, different, nrow(pairs)))
    next
  }
  test <- wilcox.test(difference, exact = FALSE, correct = TRUE)
  say(analysis, "n", nrow(pairs))
  say(analysis, "n_different", different)
  say(analysis, "median_first", median(pairs[[1]]))
  say(analysis, "median_second", median(pairs[[2]]))
  say(analysis, "median_difference", median(difference))
  say(analysis, "v", test$statistic)
  say(analysis, "p", test$p.value)
}
