"""The digital reference trial: known lesions, written as real DICOM.

In memory, for tests and benchmarks::

    from mri_pipeline.phantom.subject import simulate_subject, simulate_visit, truth_masks
    from mri_pipeline.phantom.truth import subject_truth

    patient = simulate_subject(7, ("wk00", "wk04", "wk12"), missing=("wk04",))
    scan = simulate_visit(patient, "wk12")  # .images by contrast, .subject_to_scanner: the true poses
    true_t2 = truth_masks(patient, "wk12")["t2"]  # in the subject's space
    counts = subject_truth(patient, "A").counts  # one VisitCounts per planned visit

On disk: `mri_pipeline.phantom.trial.write_reference_trial`. Any image as DICOM, simulated or not:
`mri_pipeline.phantom.dicom.write_series`.

Steps of the simulation: `anatomy` and `tissues` (a warped template with `head` and `vessels`), `lesions` of `histories`
at positions of `placing`, `contrast` (signal of every tissue), `acquire` (slices with noise), `session` and `dicom`
(files with the headers of `scanner` and `headers`). The truth of a perfect reader: `families` (lesions that are one
lesion), `states` (state of each lesion at each visit) and `truth`.
"""
