"""An approved action: claim, guard rails, device lease, vendor call, result, confirmation."""
