"""Lab 7, quantization: its eight exercises, in the notebook's order. Each has a module; what more
than one of them needs is in `answer_types` and `naming`, and `traced` runs a student's
`fake_quant`."""

from __future__ import annotations

from distill_lab.course.exercises.lab7.clipping import CLIP_SEARCH
from distill_lab.course.exercises.lab7.codes import QUANTIZE
from distill_lab.course.exercises.lab7.decoding import DEQUANTIZE
from distill_lab.course.exercises.lab7.fake import FAKE_QUANT
from distill_lab.course.exercises.lab7.model_sizes import PREDICT_SIZE
from distill_lab.course.exercises.lab7.q8_0 import Q8_0_BLOCK
from distill_lab.course.exercises.lab7.scales import SCALE_AND_ZERO_POINT
from distill_lab.course.exercises.lab7.sizes import SIZE_BYTES

EXERCISES = (
    SCALE_AND_ZERO_POINT,
    QUANTIZE,
    DEQUANTIZE,
    SIZE_BYTES,
    CLIP_SEARCH,
    FAKE_QUANT,
    Q8_0_BLOCK,
    PREDICT_SIZE,
)
