"""`python -m medvol_r1.command_line` is `medvol-r1`, where that is not on the path."""

from .program import main

if __name__ == "__main__":
    main()
