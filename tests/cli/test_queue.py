        timestamp=NOW,
        hostname="workstation-02",
        vendor_severity="LOW",
        severity="low",
    )
    assert listed(vyrox) == []
    [replayed] = listed(vyrox, "acme", "--all")
