"""Stage 1 at 1.3B: the numbers of configs/stage1_df_14b.py on the smaller base.

    lipforcing train --config configs/stage1_df_1p3b.py --workdir runs/1p3b weights=weights/1.3b dataset=data/talkers

No 1.3B recipe is published (spec training 6, "The 1.3B path"). Decided here: everything that the 14B release says, low
rank and levels included, which trains 177 468 000 parameters. What is left of the reference's file when its 14B block
is taken away has the same optimiser.

Not run: it needs about four accelerators of 40 GB. Checked as the 14B file is.
"""

import runpy
from pathlib import Path

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    config = runpy.run_path(str(Path(__file__).with_name("stage1_df_14b.py")))["get_config"]()
    config.preset = "1.3b"
    return config
