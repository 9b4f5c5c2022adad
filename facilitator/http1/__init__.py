"""An HTTP/1.1 client that does what it is told once: no second send, redirect, cookie, proxy or decoding.

``Pool`` keeps connections, ``Peer.ask`` makes one exchange on one of them, ``Answer`` is what came back.
RFC 9110 and 9112; whatever an origin says that has not one meaning is ``Invalid``.
"""
