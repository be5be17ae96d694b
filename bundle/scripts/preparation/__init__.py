"""From a public download to lists of cases: readers of data sets, patients that they share, splits, a report."""
