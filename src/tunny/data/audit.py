"""What happened to every document, span and token: counted without limit, listed up to a limit, never lost in silence.

Readers and encoders write into an Audit; it is printed, cached beside the data, saved as `audit.json` and shown in the
report.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

LISTED = 200  # places kept of each kind of event; the counts go on


@dataclass
class Audit:
    """Counts and events of one split. Not frozen: it is filled as data passes."""

    counts: Counter[str] = field(default_factory=Counter)
    events: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # automatic choices with their reasons

    def count(self, what: str, number: int = 1) -> None:
        """Add to a count."""
        self.counts[what] += number

    def event(self, kind: str, where: str, detail: str) -> None:
        """Count something that a user should know of and keep its place."""
        self.counts[kind] += 1
        listed = self.events.setdefault(kind, [])
        if len(listed) < LISTED:
            listed.append({"where": where, "detail": detail})

    def note(self, text: str) -> None:
        """Record a choice that was made automatically, once."""
        if text not in self.notes:
            self.notes.append(text)

    def add(self, other: "Audit") -> None:
        """Take over all that another audit holds."""
        self.counts.update(other.counts)
        for kind, listed in other.events.items():
            mine = self.events.setdefault(kind, [])
            mine.extend(listed[: LISTED - len(mine)])
        for text in other.notes:
            self.note(text)

    def joined(self, other: "Audit") -> "Audit":
        """Return both in one."""
        joint = Audit()
        joint.add(self)
        joint.add(other)
        return joint

    def to_json(self) -> dict[str, Any]:
        """Return the form that is saved."""
        return {"counts": dict(sorted(self.counts.items())), "events": self.events, "notes": self.notes}

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> "Audit":
        """Read what `to_json` gave."""
        return cls(Counter(saved["counts"]), saved["events"], saved["notes"])

    def lines(self, name: str) -> list[str]:
        """Return the audit as lines for people: the totals, then each kind of event with its first places."""
        kept = self.counts["examples"]
        parts = [f"{kept:,} examples"]
        parts += [f"{self.counts[key]:,} {key}" for key in ("words", "spans", "windows") if self.counts[key]]
        lines = [f"{name}: " + ", ".join(parts)]
        for kind, listed in sorted(self.events.items()):
            first = listed[0]
            more = f", and {self.counts[kind] - 1:,} more" if self.counts[kind] > 1 else ""
            lines.append(f"  {kind}: {self.counts[kind]:,}; {first['where']}: {first['detail']}{more}")
        return lines
