"""Classification: who is asked, in which order."""

from __future__ import annotations

import pytest

from gates.recovery import (
    CircuitBreakerOpen,
    ConfigurationError,
    DefaultErrorClassifier,
    ErrorClassifier,
    ExhaustedRetries,
    Outcome,
)


def test_the_most_specific_type_wins():
    """A subclass that is named beats its base that is named too, whatever the groups are."""
    classifier = ErrorClassifier(permanent=OSError, retryable=ConnectionError, overload=ConnectionRefusedError)
    assert classifier.classify(PermissionError()) is Outcome.PERMANENT
    assert classifier.classify(ConnectionResetError()) is Outcome.RETRYABLE
    assert classifier.classify(ConnectionRefusedError()) is Outcome.OVERLOAD


@pytest.mark.parametrize(
    ("errors", "outcome"),
    [
        ([ValueError(), ValueError()], Outcome.PERMANENT),
        ([ConnectionError(), OSError()], Outcome.RETRYABLE),
        ([ConnectionError(), BlockingIOError()], Outcome.OVERLOAD),
        ([ConnectionError(), ValueError()], Outcome.EXHAUSTED),
        ([ConnectionError(), KeyError()], Outcome.EXHAUSTED),
        ([ValueError(), KeyError()], Outcome.PERMANENT),
        ([KeyError(), CircuitBreakerOpen("a")], Outcome.IGNORED),
        ([ExceptionGroup("inside", [ValueError()]), ValueError()], Outcome.PERMANENT),
    ],
)
def test_a_group_means_what_its_errors_mean_together(errors, outcome):
    """A task group wraps business errors; they neither retry nor trip. Where errors disagree no attempt mends all."""
    classifier = ErrorClassifier(permanent=ValueError, ignored=KeyError, overload=BlockingIOError)
    assert classifier.classify(ExceptionGroup("several", errors)) is outcome


def test_a_group_that_is_named_itself_is_not_looked_into():
    """Its type is configured, so that is the answer."""
    classifier = ErrorClassifier(permanent=ValueError, retryable=ExceptionGroup)
    assert classifier.classify(ExceptionGroup("several", [ValueError()])) is Outcome.RETRYABLE


def test_the_predicate_is_asked_first_and_may_pass():
    """None means: ask on."""
    classifier = ErrorClassifier(permanent=ValueError, predicate=lambda error: Outcome.IGNORED if error.args else None)
    assert classifier.classify(ValueError(1)) is Outcome.IGNORED
    assert classifier.classify(ValueError()) is Outcome.PERMANENT


def test_errors_of_recovery_say_themselves_what_they_mean():
    """A rejection says nothing about the dependency; exhausted retries do."""
    classifier = DefaultErrorClassifier()
    assert classifier.classify(CircuitBreakerOpen("x", 1.0)) is Outcome.IGNORED
    assert classifier.classify(ExhaustedRetries(2, ValueError())) is Outcome.EXHAUSTED


def test_what_nobody_speaks_for_is_otherwise():
    """The default makes it retryable; a careful user turns that round."""
    assert DefaultErrorClassifier().is_recoverable(ValueError())
    assert ErrorClassifier(otherwise=Outcome.PERMANENT).is_permanent(ValueError())


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"permanent": 5}, "ErrorClassifier.permanent is 5"),
        ({"ignored": (ValueError, "KeyError")}, "ErrorClassifier.ignored is 'KeyError'; allowed: an exception type"),
        ({"permanent": ValueError, "retryable": ValueError}, "a type in one group only"),
        ({"otherwise": "permanent"}, "allowed: a member of Outcome"),
        ({"results": 1}, "ErrorClassifier.results is 1; allowed: something callable"),
    ],
)
def test_a_wrong_classifier_is_refused_at_construction(settings, text):
    """It names the field, the value and what would do."""
    with pytest.raises(ConfigurationError) as caught:
        ErrorClassifier(**settings)
    assert text in str(caught.value)
