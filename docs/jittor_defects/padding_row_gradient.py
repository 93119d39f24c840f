"""nn.Embedding(padding_idx=...) gives its row of padding a gradient, so that training moves it away from zero."""

import sys

import jittor as jt
import numpy as np

embedding = jt.nn.Embedding(3, 2, padding_idx=0)
loss = embedding(jt.array(np.asarray([0, 1]))).sum()
gradient = jt.grad(loss, embedding.weight).numpy()[0].tolist()
print(f"gradient of the row of padding: {gradient}, expected [0.0, 0.0]")
sys.exit(int(gradient != [0.0, 0.0]))
