"""Released tables of a simulated trial by the pipeline's own writers, and a randomisation list."""

import numpy as np

from mri_pipeline.core.plan import planned_visits
from mri_pipeline.core.protocol import parse_protocol, protocol_text
from mri_pipeline.core.records import ScanStatus, SubjectResult, VisitCounts
from mri_pipeline.tables.inputs import SubjectInput
from mri_pipeline.tables.io import write_tables
from mri_pipeline.tables.release import release_tables

VISITS = planned_visits(parse_protocol(protocol_text()))


def counts(rng, labels, rate, volume):
    """Counts of the analysed visits of one subject: two periods, the second with half as many lesions."""
    made, before = [], None
    weeks = {visit.label: visit.week for visit in VISITS}
    for label in labels:
        halved = 0.5 if weeks[label] > 24 else 1.0
        gel = int(rng.negative_binomial(3, 3 / (3 + rate * halved)))
        change = weeks[label] - weeks[before] if before else 0
        new = int(rng.negative_binomial(3, 3 / (3 + 0.15 * rate * halved * change))) if before else None
        volume = volume * float(rng.lognormal(0.03, 0.05))
        made.append(
            VisitCounts(
                label,
                reference_visit=before,
                gel_count=gel,
                gel_volume_ml=round(0.06 * gel, 4),
                t2_count=20,
                t2_volume_ml=round(volume, 4),
                new_t2_count=new,
                new_or_enlarging_t2_count=new,
                combined_unique_active_count=None if new is None else max(gel, new),
                bh_volume_ml=round(max(0.0, 0.1 * volume - 0.4), 4),
            )
        )
        before = label
    return tuple(made)


def write_results(folder, *, subjects=50, seed=3, effect=0.6, groups=("active", "placebo")):
    """Write `folder`/released and `folder`/list.csv. A fifth of the subjects lacks visits.

    Groups alternate in random order. Returns the two paths.
    """
    rng = np.random.default_rng(seed)
    arms = rng.permutation([groups[i % len(groups)] for i in range(subjects)])
    given, key, rows = [], {}, ["site,subject,group"]
    for i, arm in enumerate(arms):
        code, key_of = f"B{i:07d}", (f"S{i % 3:02d}", f"{i:04d}")
        rate = 2.0 * float(rng.lognormal(0, 0.7)) * (effect if arm == groups[0] else 1)
        missing = set(rng.choice([v.label for v in VISITS], 2, replace=False)) if i % 5 == 0 else set()
        labels = [visit.label for visit in VISITS if visit.label not in missing]
        visits = counts(rng, labels, rate, float(rng.lognormal(1.5, 0.8)))
        given.append(SubjectInput(SubjectResult(code, visits), dict.fromkeys(labels, ScanStatus.ANALYSED)))
        key[code] = key_of
        rows.append(f"{key_of[0]},{key_of[1]},{arm}")
    write_tables(folder / "tables", given, VISITS, study="mesems", provisional=True)
    release_tables(folder / "tables", folder / "released", key, reason="test")
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    return folder / "released", folder / "list.csv"
