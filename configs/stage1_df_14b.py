"""Stage 1 at 14B as released: the student learns to denoise a chunk from a noisy past (spec training 1 and 6, "S1").

    lipforcing train --config configs/stage1_df_14b.py --workdir runs/14b weights=weights/14b dataset=data/talkers

`weights` holds base and adapter (`lipforcing convert --unmerged`), `dataset` is a folder of encoded clips. The released
run had two clips on each of four devices: `batch` counts those of all devices, and 8 x 2 accumulated make 16. Its
`max_iter=5000` is exclusive, hence 4999 updates.

Not run: it needs about four accelerators of 80 GB. Its whole update is built without numbers, and every value here is
compared with the specification, in tests/configs/test_released.py.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "stage": "diffusion_forcing",
            "name": "stage1",
            "preset": "14b",
            "seed": 0,
            "mesh": "",  # devices by axes, such as fsdp=4,sequence=2; by rule over all devices if empty
            "dataset": "",  # folder of encoded clips; the work folder's without one
            "weights": "",  # converted folder with base and adapter
            "start": "",  # a trained part to go on from; without one the student starts as the teacher
            "trained": "low_rank",
            "lora_rank": 128,
            "lora_alpha": 64.0,
            "steps": 4999,
            "batch": 8,
            "accumulation": 2,
            "frames": 21,
            "workers": 4,
            "chunk": 3,
            "steady_mouth": False,  # whether the source's lips are shown as their mean over the last chunks
            "other_mouth": 0.0,  # how far that mean is moved at most towards one of the source's mouths, or beyond (1)
            "windows": ((7, 1), (10, 1), (13, 1), (9, 3), (12, 3)),
            "t_list": (0.999, 0.769, 0.0),
            "keep_weight": 1.0,
            "visible_channels": False,
            "lr": 1e-5,
            "schedule": "constant",
            "warmup": 0,
            "b1": 0.9,
            "b2": 0.999,
            "eps": 1e-8,
            "weight_decay": 0.01,
            "clip_norm": 10.0,
            "average_decay": 0.0,  # no average is kept
            "dtype": "bfloat16",
            "remat": "full",  # of each block: "none", "dots" or "full", from most memory to most work
            "save_every": 500,
            "keep": 2,
            "best": "",
            "log_every": 20,
            "val_clips": 4,
            "sample_every": 500,
            "max_skipped": 100,
        }
    )
