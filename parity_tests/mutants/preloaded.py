"""Imported once, by the process from which every examination is forked: both frameworks take seconds to start."""

import scipy.optimize
import torch

from frameworks.jittor_rtdetr.runtime.environment import import_jittor

__all__ = ["scipy", "torch"]

import_jittor("cpu")
