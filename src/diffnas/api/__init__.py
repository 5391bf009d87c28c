"""The functions for Python users. They turn names into objects, merge layers of settings, and call the engine."""

from diffnas.api.latency import latency
from diffnas.api.phases import evaluate, evaluation_folder, run_folder, search
from diffnas.api.planning import cost
from diffnas.api.predict import predict_files
from diffnas.api.processes import first
from diffnas.api.sequences import continue_text, judge_table, predict_sequences
from diffnas.api.take import Exported, export, load
from diffnas.api.whole_run import RunResult, draw_into, plan_run, run

__all__ = [
    "Exported",
    "RunResult",
    "continue_text",
    "cost",
    "draw_into",
    "evaluate",
    "evaluation_folder",
    "export",
    "first",
    "judge_table",
    "latency",
    "load",
    "plan_run",
    "predict_files",
    "predict_sequences",
    "run",
    "run_folder",
    "search",
]
