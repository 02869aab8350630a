"""Calibration: one threshold a slice, so that the overall false-positive budget invalidates the most clicks.

    curve        what each threshold of a slice would have done: FPR, IVR, robotic coverage
    problem      the budget less what lists cost, floors and caps, in vertices of the curves
    exact        the linear program over the curves' concave envelopes
    paper        the quadratic program over fitted parabolas
    parents      slices with too few purchases, and what they use instead
    folds        who chooses thresholds, who certifies them
    certificate  an upper bound on the overall FPR, or how many purchases it lacks
    thresholds   all of it: from scored clicks to the thresholds of a release

docs/calibration.md explains the forms and what the certificate promises.
"""
