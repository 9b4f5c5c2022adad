"""What a request costs: pure, no I/O, no clock."""
