"""``python -m qatool``."""

from qatool.cli import main

if __name__ == "__main__":
    main()
