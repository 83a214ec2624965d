import pytest
from labeling_pool import make_pairs
from persuasion_lib.records import pair_row
pytestmark = pytest.mark.browser
def test_probe(desk):
    import time
    t=time.time()
    d = desk([pair_row(p) for p in make_pairs(40)])
    print("open", time.time()-t)
    d.run_all()
    print("run", time.time()-t, d.status())
    d.page.screenshot(path="/tmp/shots/probe.png")
    before = d.cells()
    for k in "123su": d.press(k); print(k, d.status())
    print(d.choices(), d.cells()==before)
    d.page.screenshot(path="/tmp/shots/probe2.png")
