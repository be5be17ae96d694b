from medvol_r1.umrg.published import PUBLISHED


def test_the_published_figures_are_percent_in_the_order_of_the_leaderboard():
    assert PUBLISHED[0] == ("MedReasoner-7B", 32.42, 26.55, 37.78)
    assert [figures[1] for figures in PUBLISHED] == sorted((figures[1] for figures in PUBLISHED), reverse=True)
    assert all(0 < value < 100 for _, *values in PUBLISHED for value in values)
