/**
 * The custom resources of RabbitMQ's operators, as far as k8s/ uses them; what is not here is taken for a mistake.
 * Sources: https://www.rabbitmq.com/kubernetes/operator/using-operator (cluster operator 2.x, rabbitmq.com/v1beta1) and
 * https://www.rabbitmq.com/kubernetes/operator/using-topology-operator (messaging topology operator 1.17 and newer).
 */
import type { IIoK8sApiCoreV1Affinity as Affinity } from "kubernetes-models/v1/Affinity";
import type { IIoK8sApiCoreV1PodSpec as PodSpec } from "kubernetes-models/v1/PodSpec";
import type { IIoK8sApiCoreV1ResourceRequirements as Resources } from "kubernetes-models/v1/ResourceRequirements";

interface Resource<Kind, Spec> {
  apiVersion: "rabbitmq.com/v1beta1";
  kind: Kind;
  metadata: { name: string; namespace?: string; labels?: Record<string, string>; annotations?: Record<string, string> };
  spec: Spec;
}
type ClusterReference = { name: string; namespace?: string } | { connectionSecret: { name: string } };
type DeletionPolicy = "delete" | "retain";

export type IRabbitmqCluster = Resource<"RabbitmqCluster", {
  image?: string;
  replicas?: number;
  terminationGracePeriodSeconds?: number;
  resources?: Resources;
  persistence?: { storage?: string; storageClassName?: string };
  rabbitmq?: { additionalConfig?: string; additionalPlugins?: string[] };
  affinity?: Affinity;
  override?: { statefulSet?: { spec?: { template?: { spec?: PodSpec } } } };
}>;
export type IVhost = Resource<"Vhost", {
  name: string;
  defaultQueueType?: "quorum" | "classic" | "stream";
  deletionPolicy?: DeletionPolicy;
  rabbitmqClusterReference: ClusterReference;
}>;
export type IUser = Resource<"User", {
  tags?: ("management" | "policymaker" | "monitoring" | "administrator")[];
  importCredentialsSecret?: { name: string };
  rabbitmqClusterReference: ClusterReference;
}>;
export type IPermission = Resource<"Permission", {
  vhost: string;
  userReference?: { name: string };
  permissions: { configure?: string; write?: string; read?: string };
  rabbitmqClusterReference: ClusterReference;
}>;
export type ITopicPermission = Resource<"TopicPermission", {
  vhost: string;
  userReference?: { name: string };
  permissions: { exchange: string; write?: string; read?: string };
  rabbitmqClusterReference: ClusterReference;
}>;
export type IExchange = Resource<"Exchange", {
  name: string;
  vhost?: string;
  type?: "topic" | "direct" | "fanout" | "headers";
  durable?: boolean;
  autoDelete?: boolean;
  arguments?: Record<string, string | number>;
  rabbitmqClusterReference: ClusterReference;
}>;
export type IQueue = Resource<"Queue", {
  name: string;
  vhost?: string;
  type?: "quorum" | "classic" | "stream";
  durable?: boolean;
  autoDelete?: boolean;
  arguments?: Record<string, string | number>;
  deletionPolicy?: DeletionPolicy;
  rabbitmqClusterReference: ClusterReference;
}>;
export type IBinding = Resource<"Binding", {
  vhost?: string;
  source?: string;
  destination?: string;
  destinationType?: "queue" | "exchange";
  routingKey?: string;
  arguments?: Record<string, string | number>;
  rabbitmqClusterReference: ClusterReference;
}>;
