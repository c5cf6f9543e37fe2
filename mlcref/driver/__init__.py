"""The compiler's front door: a module in, something to call out."""

from mlcref.driver.compile import build, compile

__all__ = ["build", "compile"]
