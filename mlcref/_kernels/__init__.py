"""Compiled extensions, each optional; imported by ``mlcref.runtime`` alone, which has a pure-Python twin for each."""
