"""Writes values.csv, the reference that tests/reference.rs checks the crate against.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install scipy statsmodels
    /tmp/venv/bin/python reference/make.py > reference/values.csv

Each line: function, inputs separated by spaces, expected numbers separated by spaces. Where a package has the
function, it is asked; where none has, the definition is computed the long way (whole enumeration, linear search,
whole numbers), never the way the crate does it. The samples are fixed, so a second run writes the same file.
"""

import itertools
import math
import sys

import numpy as np
import scipy
import statsmodels
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW
from statsmodels.tsa.stattools import acf

RNG = np.random.default_rng(20140721)


def line(function, inputs, expected):
    words = [" ".join(repr(float(x)) for x in np.atleast_1d(part)) for part in (inputs, expected)]
    print(",".join([function, *words]))


def samples():
    for n in (2, 3, 4, 6, 7, 10, 12, 20, 30, 57):
        yield np.round(RNG.normal(0.03, 0.05, n), 6)
    yield np.round(RNG.standard_t(2, 25), 6)
    yield np.round(RNG.normal(1.0, 0.01, 30), 6)  # p far below what a table shows
    yield np.array([1.0, 1.0, 2.0, 2.0, 2.0, 5.0, 5.0, -1.0])  # ties


def quantiles():
    for df in (1, 2, 3, 4, 5, 9, 19, 29, 100, 1000, 1e5, 2.5):
        for p in (0.001, 0.3, 0.6, 0.8, 0.9, 0.95, 0.975, 0.995, 0.9995, 1 - 0.05 / 112, 1 - 1e-9):
            line("t_quantile", [p, df], stats.t.ppf(p, df))


def summaries(sample):
    line("mean", sample, sample.mean())
    line("sample_sd", sample, sample.std(ddof=1))
    line("median", sample, np.median(sample))
    line("geometric_mean", np.exp(sample), stats.gmean(np.exp(sample)))


def student(sample):
    result = stats.ttest_1samp(sample, 0.0)
    line("t_test_p", sample, result.pvalue)
    for confidence in (0.5, 0.9, 0.95, 0.999):
        interval = result.confidence_interval(confidence)
        line("t_interval", [confidence, *sample], [interval.low, interval.high])


def signed_rank_counts(n):
    """How many of the 2^n sets of ranks have each sum, in whole numbers."""
    counts = [1]
    for rank in range(1, n + 1):
        longer = counts + [0] * rank
        for total, count in enumerate(counts):
            longer[total + rank] += count
        counts = longer
    assert sum(counts) == 2**n
    return counts


def hodges_lehmann(sample, confidence):
    n = len(sample)
    walsh = sorted((a + b) / 2 for i, a in enumerate(sample) for b in sample[i:])
    below = list(itertools.accumulate(signed_rank_counts(n)))
    outside = max((w for w, c in enumerate(below) if c / 2**n <= (1 - confidence) / 2), default=None)
    if outside is None:
        return
    if len(set(np.abs(sample))) == n:
        # The end of the interval is where SciPy's own exact test turns.
        end = walsh[outside]
        p_in, p_out = (stats.wilcoxon(sample - x, method="exact").pvalue for x in (end + 1e-9, end - 1e-9))
        assert p_in > 1 - confidence >= p_out, (p_in, p_out, n)
    achieved = 1 - 2 * below[outside] / 2**n
    line("hodges_lehmann", [confidence, *sample], [np.median(walsh), walsh[outside], walsh[-1 - outside], achieved])


def holm():
    for n in (1, 2, 5, 56):
        p = np.round(RNG.uniform(0, 1, n) ** 3, 6)
        line("holm", p, multipletests(p, method="holm")[1])
    p = [0.02, 0.02, 0.5, 0.02, 1.0]
    line("holm", p, multipletests(p, method="holm")[1])


def equivalent():
    for sd in (0.001, 0.004, 0.006, 0.01, 0.02):
        for shift in (0.0, 0.006, -0.009):
            sample = np.round(RNG.normal(shift, sd, 8), 6)
            limit = math.log(1.01)
            p, *_ = DescrStatsW(sample).ttost_mean(-limit, limit)
            line("equivalent", [0.01, *sample], p < 0.05)


def power():
    for sd, n, alpha in ((0.03, 4, 0.05), (0.02, 20, 0.05), (0.02, 4, 0.05 / 56), (0.1, 2, 0.05)):
        t = stats.t(n - 1)
        line("minimum_detectable_effect", [sd, n, alpha], (t.ppf(1 - alpha / 2) + t.ppf(0.8)) * sd / math.sqrt(n))
    for sd, n, target, confidence in ((0.03, 5, 0.01, 0.95), (0.02, 20, 0.01, 0.95), (0.05, 3, 0.02, 0.99)):
        line("blocks_needed", [sd, n, target, confidence], blocks_needed(sd, n, target, confidence))


def blocks_needed(sd, n_observed, target, confidence):
    df = n_observed - 1
    ends = (sd * math.sqrt(df / stats.chi2.ppf(p, df)) for p in (0.9, 0.1))
    enough = lambda s, n: stats.t.ppf(0.5 + confidence / 2, n - 1) * s / math.sqrt(n) <= target
    return [next(n for n in range(2, 10_001) if enough(s, n) or n == 10_000) for s in ends]


def autocorrelation(sample):
    if len(sample) >= 3:
        line("lag1", sample, acf(sample, nlags=1, fft=False)[1])


def westfall_young():
    for blocks, comparisons in ((12, 1), (12, 4), (14, 3)):
        common = RNG.normal(0, 0.02, (blocks, 1))
        d = np.round(common + RNG.normal(0, 0.02, (blocks, comparisons)) + np.linspace(0, 0.03, comparisons), 6)
        line("westfall_young", [comparisons, *d.ravel()], max_t(d))


def max_t(d):
    """Step-down max-|t|, every pattern of signs, t computed as t."""
    signs = np.array(list(itertools.product((1, -1), repeat=len(d))))
    flipped = signs[:, :, None] * d[None, :, :]
    t = np.abs(flipped.mean(axis=1) / (flipped.std(axis=1, ddof=1) / math.sqrt(len(d))))
    observed = t[0]
    strongest_first = np.argsort(-observed)
    adjusted = np.zeros(d.shape[1])
    smallest_allowed = 0.0
    for step, k in enumerate(strongest_first):
        largest = t[:, strongest_first[step:]].max(axis=1)
        smallest_allowed = max(smallest_allowed, np.mean(largest >= observed[k] - 1e-7))
        adjusted[k] = smallest_allowed
    return adjusted


def variance():
    for launches, slices in ((3, 10), (5, 2), (12, 7)):
        x = np.round(RNG.normal(0, 0.02, (launches, 1)) + RNG.normal(0, 0.03, (launches, slices)), 6)
        # The mean squares of a one-way analysis of variance: F is their quotient.
        within = x.var(axis=1, ddof=1).mean()
        between = stats.f_oneway(*x).statistic * within
        line("variance_split", [slices, *x.ravel()], [(between - within) / slices, within])


def main():
    print(f"# reference/make.py: SciPy {scipy.__version__}, statsmodels {statsmodels.__version__}")
    quantiles()
    for sample in samples():
        summaries(sample)
        student(sample)
        autocorrelation(sample)
        for confidence in (0.9, 0.95, 0.99):
            if len(sample) >= 6:
                hodges_lehmann(sample, confidence)
    holm()
    equivalent()
    power()
    westfall_young()
    variance()


sys.exit(main())
