"""Examines data sets and runs: what is wrong, how much it harms, what to do."""

from keras_det.doctor.examine import Report as Report
from keras_det.doctor.examine import examine as examine
from keras_det.doctor.finding import Finding as Finding
