"""Which words are used alike: for each content word the ones with the most similar neighbours in text.

Counts of the words directly before and after, and within five words, weighted by positive pointwise mutual information
and reduced by a truncated singular value decomposition (Levy & Goldberg 2014; Bullinaria & Levy 2012).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import svds

from selfsame.text.keywords import STOP_WORDS

WORD = re.compile(r"[A-Za-z]+")


def similar_words(
    texts: Iterable[str], minimum: int = 12, targets: int = 8000, dimensions: int = 100, count: int = 24
) -> dict[str, list[str]]:
    """For each of the `targets` most frequent content words that occur `minimum` times, `count` words used most like it."""
    documents = [WORD.findall(text.lower()) for text in texts]
    frequency = Counter(word for document in documents for word in document)
    context = {word: k for k, (word, _) in enumerate(frequency.most_common(3000))}
    content = [w for w, n in frequency.most_common() if n >= minimum and len(w) > 2 and w not in STOP_WORDS][:targets]
    index = {word: k for k, word in enumerate(content)}
    matrix = _information(_count(documents, index, context))
    rank = min(dimensions, min(matrix.shape) - 1)
    left, strength, _ = svds(matrix, k=rank, random_state=0)
    vectors = left * np.sqrt(strength)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-9
    found: dict[str, list[str]] = {}
    for start in range(0, len(content), 1000):
        likeness = vectors[start : start + 1000] @ vectors.T
        likeness[np.arange(len(likeness)), start + np.arange(len(likeness))] = -1
        best = np.argsort(-likeness, axis=1, kind="stable")[:, :count]
        found.update({content[start + k]: [content[j] for j in row] for k, row in enumerate(best)})
    return found


def _count(documents: list[list[str]], index: dict[str, int], context: dict[str, int]) -> sparse.csr_matrix:
    """targets x 3 context words: directly before, directly after, within five."""
    size = len(context)
    rows: list[int] = []
    columns: list[int] = []
    for document in documents:
        ids = [context.get(word, -1) for word in document]
        for k, word in enumerate(document):
            row = index.get(word)
            if row is None:
                continue
            around = ids[max(0, k - 5) : k] + ids[k + 1 : k + 6]
            found = [2 * size + c for c in around if c >= 0]
            if k and ids[k - 1] >= 0:
                found.append(ids[k - 1])
            if k + 1 < len(ids) and ids[k + 1] >= 0:
                found.append(size + ids[k + 1])
            rows += [row] * len(found)
            columns += found
    ones = np.ones(len(rows), dtype=np.float64)
    return sparse.coo_matrix((ones, (rows, columns)), shape=(len(index), 3 * size)).tocsr()


def _information(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """Positive pointwise mutual information, contexts smoothed with the power .75."""
    total = counts.sum()
    word = np.asarray(counts.sum(axis=1)).ravel()
    context = np.asarray(counts.sum(axis=0)).ravel() ** 0.75
    context = context / context.sum()
    found = counts.tocoo()
    value = np.log(np.maximum(found.data / total, 1e-12) / (word[found.row] / total * context[found.col] + 1e-12))
    return sparse.coo_matrix((np.maximum(value, 0), (found.row, found.col)), shape=counts.shape).tocsr()
