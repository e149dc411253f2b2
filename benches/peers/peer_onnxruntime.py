#!/usr/bin/env python3
"""onnxruntime as a contender, on its processor provider.

    peer_onnxruntime.py MODEL INPUT SIDE OUTPUT THREADS
"""

import json
import os
import sys
import time

import numpy
import onnxruntime

model, source, side, output, threads = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(threads)
options.inter_op_num_threads = 1
# Its default; `rows.py` turns it off on a busy machine.
options.add_session_config_entry("session.intra_op.allow_spinning", os.environ.get("ORT_SPINNING", "1"))
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
image = numpy.fromfile(source, numpy.float32).reshape(1, 3, int(side), int(side))
run = lambda: session.run(None, {"input": image})[0]

run().tofile(output)
print(json.dumps({"ready": True, "version": onnxruntime.__version__}), flush=True)
for _ in sys.stdin:
    start = time.perf_counter()
    run()
    print(json.dumps({"milliseconds": (time.perf_counter() - start) * 1e3}), flush=True)
