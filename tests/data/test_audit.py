from tunny.data.audit import LISTED, Audit


def filled():
    audit = Audit()
    audit.count("examples", 3)
    audit.event("quarantined", "a.csv:2", "no label")
    audit.note("format csv")
    return audit


def test_events_are_counted_without_limit_and_listed_up_to_one():
    audit = Audit()
    for number in range(LISTED + 5):
        audit.event("empty", f"a.csv:{number}", "no text")
    assert audit.counts["empty"] == LISTED + 5
    assert len(audit.events["empty"]) == LISTED


def test_an_audit_comes_back_from_json():
    assert Audit.from_json(filled().to_json()) == filled()


def test_two_audits_add_up():
    joint = filled()
    joint.add(filled())
    assert (joint.counts["examples"], joint.counts["quarantined"], joint.notes) == (6, 2, ["format csv"])
    assert len(joint.events["quarantined"]) == 2


def test_lines_give_totals_and_first_places():
    audit = filled()
    audit.event("quarantined", "a.csv:9", "no label")
    assert audit.lines("train") == ["train: 3 examples", "  quarantined: 2; a.csv:2: no label, and 1 more"]
