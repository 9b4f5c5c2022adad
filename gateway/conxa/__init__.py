"""CONXA wallets: connections that people make by scanning a code, and charges per token."""
