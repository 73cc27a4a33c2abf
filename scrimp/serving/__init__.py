"""Putting a trained model to work: predictions for files, and a page where images can be dropped."""

from scrimp.serving.app import serve
from scrimp.serving.predict import Prediction, Predictor, predict

__all__ = ["Prediction", "Predictor", "predict", "serve"]
