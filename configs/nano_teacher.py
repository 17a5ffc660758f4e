"""Nano's bidirectional teacher by flow matching, from nothing.

    lipforcing train --config configs/nano_teacher.py --workdir runs/nano

Spec: network 7 and 8, training 0.2. It sees whole clips, because it will be sampled on whole clips; a tenth of them
without their sound, so that guidance has something to lead away from.

Result, on unseen pairs: the generated cells' error is 0.214 with the sound and 0.297 without at level 0.999, 0.157 and
0.198 at 0.769, 0.065 and 0.067 at 0.4. It stands still from update 4000 on, since there were 516 pairs only. 112 s on
one H200, 78 updates a second; on one CPU core an update of four clips takes 3.4 to 4.3 s, in large pages.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "stage": "flow_matching",
            "name": "teacher",
            "preset": "nano",
            "seed": 0,
            "dataset": "",  # the work folder's
            "trained": "everything",
            "start": "",  # weights to go on from; empty begins from nothing
            "teacher": "",
            "negative_prompt": "",
            "steps": 6500,
            "batch": 8,
            "accumulation": 1,
            "frames": 21,
            "workers": 0,
            "chunk": 3,
            "steady_mouth": False,  # whether the source's lips are shown as their mean over the last chunks
            "drop_share": 0.1,
            "lr": 2.4e-3,
            "schedule": "cosine",
            "warmup": 100,
            "weight_decay": 0.02,
            "clip_norm": 1.0,
            "average_decay": 0.998,
            "keep_weight": 0.2,
            "remat": "none",
            "val_clips": 8,
            "save_every": 200,
            "log_every": 20,
            "keep": 2,
            "max_skipped": 100,
        }
    )
