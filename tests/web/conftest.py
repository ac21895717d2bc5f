import sys; sys.path.insert(0,'/tmp/webmock')
from conftest_mock import Room
import pytest
from playwright.sync_api import sync_playwright
from tests.web.driver import ReadingPage
PORT=[8810]
@pytest.fixture(scope='session')
def browser():
    with sync_playwright() as p:
        b=p.chromium.launch(executable_path='/usr/bin/chromium',args=['--no-sandbox']); yield b; b.close()
@pytest.fixture(scope='session')
def server(tmp_path_factory):
    r=Room(tmp_path_factory.mktemp('room'),8811); r.start(); yield r; r.kill()
@pytest.fixture
def room(server,request):
    server.assignment='k'+str(abs(hash(request.node.name))); return server
@pytest.fixture
def new_device(browser,room):
    cs=[]; faults=[]
    def make():
        c=browser.new_context(viewport={'width':1920,'height':1080}); cs.append(c); c.set_default_timeout(15000)
        pg=c.new_page(); pg.on('pageerror',lambda e:faults.append(str(e))); pg.on('console',lambda m: 'Content Security' in m.text and faults.append(m.text))
        return ReadingPage(pg,room.base,room.assignment)
    yield make
    for c in cs: c.close()
    assert not faults
@pytest.fixture
def reading(new_device): return new_device().open()
@pytest.fixture
def new_tab(reading,room):
    return lambda: ReadingPage(reading.page.context.new_page(),room.base,room.assignment)
