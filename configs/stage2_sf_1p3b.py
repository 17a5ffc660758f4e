"""Stage 2 at 1.3B: the numbers of configs/stage2_sf_14b.py on the smaller base.

    lipforcing train --config configs/stage2_sf_1p3b.py --workdir runs/1p3b weights=weights/1.3b dataset=data/talkers

No 1.3B recipe is published (spec training 6, "The 1.3B path"). What is left of the reference's file when its 14B block
is taken away has 64 clips an update (`batch=32 accumulation=2`), lands at 0.833 (`t_list=0.999,0.833,0.0`), merges the
adapter into the student and trains all of it. Decided here: everything that the 14B release says, which trains
177 468 000 parameters each of student and critic, starts where stage 1 ended, and needs one copy of the base.

Not run: it needs about four accelerators of 40 GB. Checked as the 14B file is.
"""

import runpy
from pathlib import Path

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    config = runpy.run_path(str(Path(__file__).with_name("stage2_sf_14b.py")))["get_config"]()
    config.preset = "1.3b"
    return config
