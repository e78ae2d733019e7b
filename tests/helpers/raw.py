"""Milvus' gRPC calls without a client's retries, so that a refusal is seen when it is given."""

import base64
import struct
import time

import grpc
from pymilvus.grpc_gen import common_pb2, milvus_pb2, milvus_pb2_grpc, schema_pb2

from .node import Node
from .program import PATIENCE


class Raw:
    """Calls on one collection of `id` (Int64) and `vector` (FloatVector)."""

    def __init__(self, node: Node, collection: str, dim: int, database: str = ""):
        # A node that changes its process image keeps its address: connect again at once.
        options = [
            ("grpc.initial_reconnect_backoff_ms", 20),
            ("grpc.max_reconnect_backoff_ms", 50),
            ("grpc.enable_retries", 0),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        self.channel = grpc.insecure_channel(f"127.0.0.1:{node.port}", options)
        self.stub = milvus_pb2_grpc.MilvusServiceStub(self.channel)
        token = base64.b64encode(f"root:{node.password}".encode()).decode()
        self.metadata = (("authorization", token), ("dbname", database))
        self.collection, self.dim = collection, dim

    def close(self) -> None:
        self.channel.close()

    def ask(self, call: str, request, timeout: float = 60) -> str | None:
        """None if the call was granted, else why it wasn't, beginning with the gRPC status."""
        try:
            reply = getattr(self.stub, call)(request, metadata=self.metadata, timeout=timeout)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
        status = reply if isinstance(reply, common_pb2.Status) else reply.status
        return None if status.code == 0 else f"OK {status.code}: {status.reason}"

    def query(self, timeout: float = 60) -> str | None:
        return self.ask("Query", self._query(), timeout)

    def refusal(self, patience: float = PATIENCE) -> str:
        """Why the node refuses a query, as it says itself once it does. That a connection is lost while the node changes its
        process image is not its word."""
        deadline = time.monotonic() + patience
        while "sealed" not in (why := self.query() or ""):
            assert time.monotonic() < deadline, f"not refused; the last answer: {why or 'granted'}"
            time.sleep(0.05)
        return why

    def every_data_call(self) -> dict[str, str | None]:
        """What each call that reads or writes data or names comes to."""
        m = milvus_pb2
        named = {"collection_name": self.collection}
        requests = {
            "Query": self._query(),
            "Search": self._search(),
            "Insert": m.InsertRequest(fields_data=self._row(900_001), num_rows=1, **named),
            "Upsert": m.UpsertRequest(fields_data=self._row(900_002), num_rows=1, **named),
            "Delete": m.DeleteRequest(expr="id in [900001, 900002]", **named),
            "Flush": m.FlushRequest(collection_names=[self.collection]),
            "DescribeCollection": m.DescribeCollectionRequest(**named),
            "HasCollection": m.HasCollectionRequest(**named),
            "ShowCollections": m.ShowCollectionsRequest(),
            "ShowPartitions": m.ShowPartitionsRequest(**named),
            "DescribeIndex": m.DescribeIndexRequest(**named),
            "GetCollectionStatistics": m.GetCollectionStatisticsRequest(**named),
            "LoadCollection": m.LoadCollectionRequest(**named),
        }
        return {call: self.ask(call, request) for call, request in requests.items()}

    def _query(self):
        return milvus_pb2.QueryRequest(collection_name=self.collection, expr="", output_fields=["count(*)"])

    def _search(self):
        vector = struct.pack(f"<{self.dim}f", *([1.0] * self.dim))
        value = common_pb2.PlaceholderValue(tag="$0", type=common_pb2.PlaceholderType.FloatVector, values=[vector])
        group = common_pb2.PlaceholderGroup(placeholders=[value]).SerializeToString()
        params = [
            common_pb2.KeyValuePair(key="topk", value="1"),
            common_pb2.KeyValuePair(key="anns_field", value="vector"),
        ]
        return milvus_pb2.SearchRequest(
            collection_name=self.collection, placeholder_group=group, nq=1, search_params=params
        )

    def _row(self, key: int):
        s = schema_pb2
        scalars = s.ScalarField(long_data=s.LongArray(data=[key]))
        vectors = s.VectorField(dim=self.dim, float_vector=s.FloatArray(data=[1.0] * self.dim))
        return [
            s.FieldData(type=s.DataType.Int64, field_name="id", scalars=scalars),
            s.FieldData(type=s.DataType.FloatVector, field_name="vector", vectors=vectors),
        ]
