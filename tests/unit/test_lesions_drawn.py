"""Every rule of docs/definitions.md on a drawing: what is drawn is what is tracked.

One axial slice, voxels of 2 x 2 x 2 mm (8 mm3, 4 mm2). Visits stand side by side under their label; a visit that is
not drawn is missing; ``~`` after a label: no post-contrast T1.

    .  nothing        o  T2 lesion      *  T2 lesion that enhances
                      b  black hole     +  enhances without T2 lesion
"""

import numpy as np
import pytest

from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.records import T2State
from mri_pipeline.core.spatial import Grid, LabelImage
from mri_pipeline.core.visits import VisitMasks, week_of
from mri_pipeline.lesions.tracking.track import track_subject

COLUMNS = {
    "t2": "t2_count", "new": "new_t2_count", "enlarging": "enlarging_t2_count", "either": "new_or_enlarging_t2_count",
    "gel": "gel_count", "gel_new": "gel_new_count", "re": "gel_re_enhancing_count",
    "persistent": "gel_persistent_count",
    "combined": "combined_unique_active_count", "holes": "bh_count", "against": "reference_visit",
    "since_first": "new_t2_since_first_count",
}  # fmt: skip
VOLUMES = {
    "gel_mm3": "gel_volume_ml",
    "t2_mm3": "t2_volume_ml",
    "hole_mm3": "bh_volume_ml",
    "chronic_mm3": "bh_chronic_volume_ml",
}

# name, drawing, what the row of the last visit says (- is empty), states and numbers of its lesions
CASES = [
    # ---- what a lesion is
    ("two voxels (16 mm3) are a T2 lesion, one (8 mm3) is none", """
        wk00
        oo...o
        ......""", "t2=1 t2_mm3=16"),
    ("voxels that touch at a corner are one lesion", """
        wk00
        oo....
        ..oo..""", "t2=1 t2_mm3=32"),
    ("one voxel between is two lesions", """
        wk00
        oo.oo.""", "t2=2"),
    ("one enhancing voxel is none, two are one", """
        wk00
        oo*o.ooo
        .....**.""", "t2=2 gel=1 gel_mm3=16"),
    ("a black hole has two voxels, too", """
        wk00
        obo..obbo""", "holes=1 hole_mm3=16"),
    # ---- the first visit, missing visits, visits without contrast
    ("the first analysed visit is compared with nothing", """
        wk00
        oo.**.""", ("t2=2 gel=1 new=- enlarging=- either=- gel_new=- re=- persistent=- combined=- "
        "chronic_mm3=- against=-")),
    ("a first visit that is not week 0 is the first all the same", """
        wk12
        oo.**.""", "t2=2 gel=1 new=- combined=- against=-"),
    ("against the first visit: what was new since and is still there", """
        wk00    wk04    wk12    wk24
        oo..... oo..oo. oo..oo. oo..oo.
        ....... ....... ....... .......
        ....... ooo.... ....... ...oo..""", "new=1 since_first=2"),
    ("against the first visit nothing is new that was there", """
        wk00    wk04    wk12
        oo..oo. oo..... oo..oo.""", "new=1 since_first=0"),
    ("the first visit is compared with nothing, nor with itself", """
        wk00
        oo..oo.""", "new=- since_first=-"),
    ("nothing seen is 0, not empty", """
        wk00    wk04
        ......  ......""", "t2=0 t2_mm3=0 gel=0 gel_mm3=0 new=0 enlarging=0 gel_new=0 combined=0 holes=0"),
    ("weeks 4 and 12 are missing: against week 0", """
        wk00    wk24
        oo....  oo.oo.""", "t2=2 new=1 against=wk00"),
    ("without contrast GEL and combined are empty, the rest is there", """
        wk00    wk04~
        oo....  oo.oo.""", "t2=2 new=1 gel=- gel_mm3=- gel_new=- re=- persistent=- combined=-"),
    ("GEL looks past a visit without contrast, T2 does not", """
        wk00    wk04~   wk12
        **....  oo.oo.  **.**.""", "gel=2 persistent=1 gel_new=1 new=0 combined=2 against=wk04"),
    ("the first contrast is at the second visit: GEL, compared with nothing", """
        wk00~   wk04
        oo....  **....""", "gel=1 gel_new=- re=- persistent=- combined=1"),
    # ---- new, vanished
    ("new where there was none", """
        wk00    wk04
        ......  .oo...""", "t2=1 new=1 enlarging=0 either=1 combined=1 states=new"),
    ("new from a single voxel that was no lesion", """
        wk00    wk04
        ......  .oo...
        .o....  .oo...""", "t2=1 new=1 states=new"),
    ("one voxel more than too small: it has no predecessor", """
        wk00    wk04
        .o....  .oo...""", "t2=1 new=1 states=new"),
    ("vanished", """
        wk00    wk04
        oo.ooo  ...ooo""", "t2=1 new=0 states=stable,vanished numbers=1,2"),
    ("back after it had vanished: new again, under a new number", """
        wk00    wk04    wk12
        oo.ooo  ...ooo  oo.ooo""", "t2=2 new=1 states=stable,new numbers=1,3"),
    # ---- enlarging, shrinking
    ("section + 50 %, + 16 mm3", """
        wk00    wk04
        oo....  ooo...
        oo....  ooo...""", "t2=1 new=0 enlarging=1 either=1 combined=1 states=enlarging"),
    ("section + 25 %", """
        wk00    wk04
        oo....  ooo...
        oo....  oo....""", "enlarging=0 states=stable"),
    ("section + 50 %, + 8 mm3 alone", """
        wk00    wk04
        oo....  ooo...""", "enlarging=0 states=stable"),
    ("large (72 mm2): + 22 %", """
        wk00      wk04
        oooooo..  ooooooo.
        oooooo..  ooooooo.
        oooooo..  oooooooo""", "enlarging=0 states=stable"),
    ("large (72 mm2): + 28 %", """
        wk00      wk04
        oooooo..  oooooooo
        oooooo..  oooooooo
        oooooo..  ooooooo.""", "enlarging=1 states=enlarging"),
    ("less large (60 mm2): + 33 %", """
        wk00      wk04
        ooooo...  oooooo..
        ooooo...  ooooooo.
        ooooo...  ooooooo.""", "enlarging=0 states=stable"),
    ("shrinking is the mirror image", """
        wk00    wk04
        ooo...  oo....
        ooo...  oo....""", "enlarging=0 states=shrinking"),
    ("slowly: no step is enough, week 12 is compared with week 4", """
        wk00    wk04    wk12
        oo....  ooo...  ooo...
        oo....  oo....  ooo...""", "enlarging=0 against=wk04 states=stable"),
    # ---- merge, split, numbers
    ("two grow together: neither new nor lost, the number of the larger", """
        wk00     wk04
        ooo.oo.  oooooo.
        ooo.oo.  ooo.oo.""", "t2=1 new=0 enlarging=0 states=stable numbers=1"),
    ("two grow together and grow", """
        wk00     wk04
        ooo.oo.  ooooooo
        ooo.oo.  ooooooo
        .......  .oooo..""", "t2=1 new=0 enlarging=1 states=enlarging numbers=1"),
    ("one falls apart: both parts keep the number", """
        wk00     wk04
        oooooo.  ooo.oo.
        oooooo.  ooo.oo.""", "t2=2 new=0 states=stable,stable numbers=1,1"),
    ("together and apart again: each finds its number", """
        wk00     wk04     wk12
        oo.ooo.  oooooo.  oo.ooo.
        oo.ooo.  oooooo.  oo.ooo.""", "t2=2 new=0 states=stable,stable numbers=1,2"),
    # ---- enhancing
    ("new: neither enhancement nor T2 lesion there", """
        wk00    wk04
        ......  .**...""", "gel=1 gel_new=1 re=0 persistent=0"),
    ("re-enhancing: a T2 lesion that did not enhance", """
        wk00    wk04
        .oo...  .**...""", "gel=1 gel_new=0 re=1 persistent=0 new=0 combined=1"),
    ("persistent", """
        wk00    wk04
        .**...  .**...""", "gel=1 gel_new=0 re=0 persistent=1 new=0 combined=1"),
    ("again after a pause: re-enhancing, for the previous visit counts", """
        wk00    wk04    wk12
        .**...  .oo...  .**...""", "gel=1 gel_new=0 re=1 persistent=0"),
    ("enhancement without a T2 lesion", """
        wk00    wk04
        ......  .++...""", "gel=1 gel_new=1 t2=0 new=0 combined=1 states=none"),
    ("its T2 lesion comes later: the same lesion, new on T2", """
        wk00    wk04
        .++...  .oo...""", "gel=0 t2=1 new=1 combined=1 numbers=1"),
    # ---- combined unique active: each lesion once
    ("enhancing and new on T2 is one", """
        wk00    wk04
        ......  .**...""", "gel=1 new=1 combined=1"),
    ("enhancing and enlarging is one", """
        wk00    wk04
        oo....  **o...
        oo....  **o...""", "gel=1 enlarging=1 combined=1"),
    ("one enhances, another is new: two", """
        wk00      wk04
        oo......  **..oo..""", "gel=1 new=1 combined=2"),
    ("two foci in one new lesion are two", """
        wk00     wk04
        .......  **ooo**""", "gel=2 new=1 combined=2"),
    ("one focus over two new lesions: two", """
        wk00     wk04
        .......  o*+*o..""", "gel=1 new=2 combined=2"),
    ("no longer enhancing is not active", """
        wk00    wk04
        .**...  .oo...""", "gel=0 combined=0"),
    # ---- black holes
    ("chronic: a lesion for 24 weeks", """
        wk00    wk12    wk24
        oooo..  oooo..  obbo..""", "holes=1 hole_mm3=16 chronic_mm3=16"),
    ("a lesion for 12 weeks: known not to be chronic", """
        wk00    wk12    wk24
        ......  oooo..  obbo..""", "holes=1 chronic_mm3=0"),
    ("not a lesion all the time", """
        wk00    wk12    wk24
        oooo..  ......  obbo..""", "holes=1 chronic_mm3=0"),
    ("no visit lies 24 weeks back: not known", """
        wk04    wk12    wk24
        oooo..  oooo..  obbo..""", "holes=1 chronic_mm3=-"),
    ("the part that has been a lesion is chronic", """
        wk00    wk24
        ooo...  obbbb.""", "holes=1 hole_mm3=32 chronic_mm3=16"),
]  # fmt: skip


def drawn(drawing):
    """The visits of a drawing."""
    header, *lines = (line.split() for line in drawing.strip().splitlines())
    pictures = [np.array([list(line[i]) for line in lines]).T[:, ::-1, None] for i in range(len(header))]
    shape = tuple(n + 2 for n in pictures[0].shape)
    grid = Grid(shape, np.diag([2.0, 2.0, 2.0, 1.0]))

    def labels(picture, symbols):
        return LabelImage(np.pad(np.isin(picture, list(symbols)), 1), grid)

    visits = [
        VisitMasks(
            label.rstrip("~"),
            labels(picture, "o*b"),
            None if label.endswith("~") else labels(picture, "*+"),
            labels(picture, "b"),
        )
        for label, picture in zip(header, pictures, strict=True)
    ]
    return visits, LabelImage(np.full(shape, 4, dtype=np.uint8), grid)


def said(visit, name):
    if name == "states":
        return ",".join(record.t2_state.value for record in visit.records)
    if name == "numbers":
        return ",".join(str(record.lesion_id) for record in visit.records)
    if name in VOLUMES:
        volume = getattr(visit.counts, VOLUMES[name])
        return "-" if volume is None else f"{1000 * volume:.0f}"
    value = getattr(visit.counts, COLUMNS[name])
    return "-" if value is None else str(value)


@pytest.mark.parametrize(("drawing", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_what_is_drawn_is_what_is_counted(drawing, expected):
    visits, brain = drawn(drawing)
    tracking = track_subject(visits, brain, LesionRules(), {v.visit: week_of(v.visit) for v in visits})
    wanted = dict(part.split("=") for part in expected.split())
    assert {name: said(tracking.visits[-1], name) for name in wanted} == wanted
    for visit in tracking.visits:
        present = [record for record in visit.records if record.t2_state is not T2State.VANISHED]
        assert len({(record.lesion_id, record.part) for record in present}) == len(present)
