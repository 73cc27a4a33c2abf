"""Putting a trained model to work: predictions for files, exported files, a page and a JSON API."""

from scrimp.serving.app import serve
from scrimp.serving.exporting import Exported, export
from scrimp.serving.predicting import Prediction, Predictor, predict

__all__ = ["Exported", "Prediction", "Predictor", "export", "predict", "serve"]
