"""What the command line can do, one command a file. `tnsim.cli` puts them together."""

__all__ = ()
