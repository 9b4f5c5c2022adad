"""What the tests stand on: a real chain, real clients, a recording upstream, a real gateway process."""
