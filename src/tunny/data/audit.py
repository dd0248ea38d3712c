"""What happened to every document, span and token: counted without limit, listed up to a limit, never lost in silence.

Readers and encoders write into an Audit; it is printed, cached beside the data, saved as `audit.json` and shown in the
report. Things that flow through (examples, spans, tokens ...) are counted where they come in and where they come out, at
different places of the code, and `settle` asserts that in = kept + repaired + dropped.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

ASKED = ("other languages", "labels not kept", "not accepted")  # reasons that a setting or an annotator gave
FOREIGN = ("annotations", "regions")  # of which Label Studio's other controls and annotators have their own
UNREADABLE = ("spans that read otherwise", "results that cannot be read")
LISTED = 200  # places kept of each kind of event; the counts go on


@dataclass
class Flow:
    """One kind of thing on its way: how many came in, how many came out, and why the others did not."""

    taken: int = 0
    given: int = 0  # came out, as they were or repaired
    repaired: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def kept(self) -> int:
        """How many came out as they went in."""
        return self.given - self.repaired.total()


@dataclass
class Audit:
    """Counts and events of one split. Not frozen: it is filled as data passes."""

    counts: Counter[str] = field(default_factory=Counter)
    events: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # automatic choices with their reasons
    flows: defaultdict[str, Flow] = field(default_factory=lambda: defaultdict(Flow))
    rejected: list[tuple[int, int, str]] = field(default_factory=list)  # file, line and reason of every row left out

    def count(self, what: str, number: int = 1) -> None:
        """Add to a count."""
        self.counts[what] += number

    def event(self, kind: str, where: str, detail: str, number: int = 1) -> None:
        """Count something that a user should know of and keep its place."""
        self.counts[kind] += number
        listed = self.events.setdefault(kind, [])
        if len(listed) < LISTED:
            listed.append({"where": where, "detail": detail})

    def note(self, text: str) -> None:
        """Record a choice that was made automatically, once."""
        if text not in self.notes:
            self.notes.append(text)

    def flow(self, unit: str) -> Flow:
        """Return the flow of a kind of thing, such as examples or spans."""
        return self.flows[unit]

    def take(self, unit: str, number: int = 1) -> None:
        """Count what comes in."""
        self.flow(unit).taken += number

    def give(self, unit: str, number: int = 1) -> None:
        """Count what comes out, as it was or repaired."""
        self.flow(unit).given += number
        self.counts[unit] += number

    def repair(self, unit: str, kind: str, where: str, detail: str, number: int = 1) -> None:
        """Count what comes out changed, with the rule and the place."""
        self.flow(unit).repaired[kind] += number
        self.event(kind, where, detail, number)

    def drop(self, unit: str, kind: str, where: str, detail: str, number: int = 1) -> None:
        """Count what does not come out, with the reason and the place."""
        self.flow(unit).dropped[kind] += number
        self.event(kind, where, detail, number)

    def settle(self) -> None:
        """Assert that nothing was lost without a reason."""
        for unit, flow in self.flows.items():
            lost = flow.taken - flow.given - flow.dropped.total()
            assert lost == 0, f"{lost} {unit} are unaccounted for: {flow}"
            assert flow.kept >= 0, f"more {unit} were repaired than came out: {flow}"

    @property
    def losses(self) -> int:
        """How many things were left out that nobody asked to leave out, and that are no business of other tasks or annotators."""
        lost = [(unit, kind, number) for unit, flow in self.flows.items() for kind, number in flow.dropped.items()]
        return sum(number for unit, kind, number in lost if kind not in ASKED and (unit not in FOREIGN or kind in UNREADABLE))

    def add(self, other: "Audit") -> "Audit":
        """Take over all that another audit holds, and return both in one."""
        self.counts.update(other.counts)
        for kind, listed in other.events.items():
            mine = self.events.setdefault(kind, [])
            mine.extend(listed[: LISTED - len(mine)])
        for text in other.notes:
            self.note(text)
        for unit, more in other.flows.items():
            one = self.flows[unit]
            self.flows[unit] = Flow(
                one.taken + more.taken, one.given + more.given, one.repaired + more.repaired, one.dropped + more.dropped
            )
        self.rejected += other.rejected
        return self

    def joined(self, other: "Audit") -> "Audit":
        """Return both in one."""
        return Audit().add(self).add(other)

    def to_json(self) -> dict[str, Any]:
        """Return the form that is saved; `rejected` goes to the quarantine file instead."""
        flows = {
            unit: {"in": flow.taken, "kept": flow.kept, "repaired": dict(flow.repaired), "dropped": dict(flow.dropped)}
            for unit, flow in self.flows.items()
        }
        return {"counts": dict(sorted(self.counts.items())), "flows": flows, "events": self.events, "notes": self.notes}

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> "Audit":
        """Read what `to_json` gave."""
        found = cls(Counter(saved["counts"]), saved["events"], saved["notes"])
        for unit, flow in saved["flows"].items():
            repaired = Counter[str](flow["repaired"])
            found.flows[unit] = Flow(flow["in"], flow["kept"] + repaired.total(), repaired, Counter(flow["dropped"]))
        return found

    def told(self, name: str) -> list[str]:
        """Return what a command says of what it read: the automatic choices, then the totals and events."""
        return [*self.notes, *self.lines(name)]

    def lines(self, name: str) -> list[str]:
        """Return the audit as lines for people: the totals, then each kind of event with its first places."""
        kept, taken = self.counts["examples"], self.flow("examples").taken
        parts = [f"{kept:,} examples" if kept >= taken else f"{kept:,} of {taken:,} examples"]
        parts += [f"{self.counts[key]:,} {key}" for key in ("words", "spans", "windows") if self.counts[key]]
        lines = [f"{name}: " + ", ".join(parts)]
        for kind, listed in sorted(self.events.items()):
            first = listed[0]
            more = f", and {self.counts[kind] - 1:,} more" if self.counts[kind] > 1 else ""
            lines.append(f"  {kind}: {self.counts[kind]:,}; {first['where']}: {first['detail']}{more}")
        return lines
