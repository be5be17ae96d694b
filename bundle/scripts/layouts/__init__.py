"""How public data sets lie on disk: one reader a data set, `find_cases(folder) -> Found`."""
