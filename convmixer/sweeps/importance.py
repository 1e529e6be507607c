"""Measures which of the searched keys decide the objective of a sweep."""

import optuna


def evaluator() -> optuna.importance.BaseImportanceEvaluator:
    """fANOVA (Hutter et al., ICML 2014), over all complete trials.

    Optuna's default, PED-ANOVA, compares the best tenth with the rest: of 20 trials that is two at most, and what
    decides between the others is not seen.
    """
    return optuna.importance.FanovaImportanceEvaluator(seed=0)


def importances(study: optuna.Study) -> dict[str, float]:
    """The share of each searched key in what decides the objective, 1 in all; empty where too little is known."""
    try:
        return optuna.importance.get_param_importances(study, evaluator=evaluator())
    except (ValueError, RuntimeError, ZeroDivisionError):  # fewer than two complete trials, or all alike
        return {}
