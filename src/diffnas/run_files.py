"""The names of what a run folder holds. Whoever reads or writes one asks here."""

RECORD = "run.json"
TRACE = "trace.jsonl"
CHECKPOINTS = "checkpoint"
LAST, PREVIOUS = "last.pt", "previous.pt"  # in the folder of checkpoints
GENOTYPE = "genotype.json"
LANDING = "landing.json"
FAMILY = "family"
EVALUATION = "evaluation"
LOSS = "loss"  # beside the metrics of a task
RESULT = "result.json"
NETWORK, WEIGHTS = "network.json", "network.safetensors"
REPORT = "report.html"
SKIPPED = "skipped.txt"
EXPORT, INT8 = "export", "int8.json"
CONTEST, CONTENDERS, ANSWERS, VERDICT = "contest.json", "contenders", "answers.json", "verdict.json"
LOCK = "lock"
SWEEP, ENDED, LOGS, VOTES = "sweep.json", "ended", "logs", "votes"  # in the folder of a sweep
