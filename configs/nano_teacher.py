"""Nano's bidirectional teacher by flow matching, from nothing.

    lipforcing train --config configs/nano_teacher.py --workdir runs/nano

Spec: network 7 and 8, training 0.2. It sees whole clips, because it will be sampled on whole clips; a tenth of them
without their sound, so that guidance has something to lead away from.

Result of 1500 updates at a rate of 6e-4 that began as a causal student (`lipforcing reproduce --onward`), on unseen
pairs: the generated cells' error is 0.106 with the sound and 0.166 without at level 0.999, 0.082 and 0.119 at 0.769,
0.056 and 0.068 at 0.4. From nothing, as this file has it, 3000 updates of 4000 reached 0.160 and 0.202 at 0.999. About
0.7 s an update on two cores.
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
