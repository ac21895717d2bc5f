"""The digital reference trial: known lesions in known places, written as real DICOM.

In memory, for tests and benchmarks::

    from mri_pipeline.phantom.subject import simulate_subject, simulate_visit, truth_masks, truth_on_grid
    from mri_pipeline.phantom.truth import subject_truth

    patient = simulate_subject(7, ("wk00", "wk04", "wk12"), missing=("wk04",))
    scan = simulate_visit(patient, "wk12")  # .images by contrast, .subject_to_scanner: the true poses
    flair = Contrast.FLAIR
    pose, grid = scan.subject_to_scanner[flair], scan.images[flair].grid
    true_t2 = truth_on_grid(truth_masks(patient, "wk12")["t2"], pose, grid)
    counts = subject_truth(patient, "A").counts  # one VisitCounts per planned visit

On disk: `mri_pipeline.phantom.trial.write_reference_trial`. Any image as DICOM, simulated or not:
`mri_pipeline.phantom.dicom.write_series`.

The way of an image: `anatomy` and `tissues` (a warped template with `head` and `vessels` around and in it) →
`lesions` of `histories`, put in their places by `placing` → `contrast` gives every tissue its signal → `acquire`
makes slices with noise → `session` and `dicom` write them as `scanner` and `headers` say. What a perfect reader would
say of it: `families` (which lesions are one), `states` (what became of them), `truth`.
"""
