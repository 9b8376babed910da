import asyncio, json, time, cProfile, pstats, statistics
from tests.integration.test_engine_http import *
def test_prof(settings, key):
    app=create_app(settings.model_copy(update={"requests_per_minute":10**6}))
    async def main():
        async with app.router.lifespan_context(app):
            async def call(path, body):
                b=json.dumps(body).encode()
                scope={"type":"http","asgi":{"version":"3.0"},"http_version":"1.1","method":"POST","path":path,"raw_path":path.encode(),"query_string":b"","headers":[(b"host",b"localhost"),(b"authorization",f"Bearer {key}".encode()),(b"content-type",b"application/json"),(b"content-length",str(len(b)).encode())],"server":("localhost",80),"client":("127.0.0.1",1),"scheme":"http","root_path":""}
                sent=[]; first=True
                async def receive():
                    nonlocal first
                    if first: first=False; return {"type":"http.request","body":b,"more_body":False}
                    await asyncio.sleep(100)
                async def send(m): sent.append(m)
                await app(scope,receive,send)
                assert sent[0]["status"]==200,sent
            body={"model":"reviews","text":"a warm and lovely film"}
            for _ in range(100): await call("/api/v1/sentiment",body)
            ts=[]
            for _ in range(800):
                a=time.perf_counter(); await call("/api/v1/sentiment",body); ts.append(time.perf_counter()-a)
            print("p50 asgi", statistics.median(ts)*1e6)
            pr=cProfile.Profile(); pr.enable()
            for _ in range(500): await call("/api/v1/sentiment",body)
            pr.disable()
            pstats.Stats(pr).sort_stats("cumtime").print_stats(45)
    asyncio.run(main())
