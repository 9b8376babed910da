from sqlalchemy import text
def test_a(database):
    with database.transaction() as db:
        assert db.execute(text("select count(*) from jobs")).scalar() == 0
def test_b(database, settings):
    assert settings.artifact_dir.exists()
    with database.transaction() as db:
        assert db.execute(text("select current_setting('server_version')")).scalar().startswith("18")
