BEGIN TRANSACTION;
CREATE TABLE audit (
	seq INTEGER NOT NULL, 
	at VARCHAR(32) NOT NULL, 
	os_user VARCHAR(64) NOT NULL, 
	reader VARCHAR(64) NOT NULL, 
	action VARCHAR(64) NOT NULL, 
	target VARCHAR(64) NOT NULL, 
	details JSON NOT NULL, 
	previous VARCHAR(64) NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	PRIMARY KEY (seq)
);
INSERT INTO "audit" VALUES(1,'2026-11-29T15:17:06+00:00','root','','site entered','S01','{}','0000000000000000000000000000000000000000000000000000000000000000','6837c0ecb68f656f6317686e9f3120664bf787d45845bd40f4eee755b4614909');
INSERT INTO "audit" VALUES(2,'2026-11-29T15:17:06+00:00','root','','site entered','S02','{}','6837c0ecb68f656f6317686e9f3120664bf787d45845bd40f4eee755b4614909','c82ea5579cfaf3d0b341f8c5a0fb46f321b392d8e8e92339aeee767899bb3dd2');
INSERT INTO "audit" VALUES(3,'2026-11-29T15:17:06+00:00','root','','scanner entered','S01','{"manufacturer": "Maker", "model": "Model", "software": "v1", "field_strength_t": 1.5, "serial_digest": "abababababababab"}','c82ea5579cfaf3d0b341f8c5a0fb46f321b392d8e8e92339aeee767899bb3dd2','575d42aadc6ac1118ea3cffe08e11e51debfb58a089b1a7993ad486900157945');
INSERT INTO "audit" VALUES(4,'2026-11-29T15:17:06+00:00','root','','dummy-run','S01','{"gate": "accepted", "upload": "d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0", "findings": []}','575d42aadc6ac1118ea3cffe08e11e51debfb58a089b1a7993ad486900157945','3f33e0a9ff2efeee17d1b0d2e147e4517bf4e47b8eb205ada37612fcc166efe8');
INSERT INTO "audit" VALUES(5,'2026-11-29T15:17:06+00:00','root','','subject entered','BCDF2345','{"site": "S01"}','3f33e0a9ff2efeee17d1b0d2e147e4517bf4e47b8eb205ada37612fcc166efe8','4e4b071de52a0e1e16f014c22ff6d802b2829a50824aee730fca4f552bfcb285');
INSERT INTO "audit" VALUES(6,'2026-11-29T15:17:06+00:00','root','','scan received','BCDF2345 wk00','{"upload": "d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1", "findings": ["thick slices"]}','4e4b071de52a0e1e16f014c22ff6d802b2829a50824aee730fca4f552bfcb285','78314110176a5dededd963a9fe542fa5bc7e9d470d7ef2796cf3df2f972bf846');
INSERT INTO "audit" VALUES(7,'2026-11-29T15:17:06+00:00','root','','scan received','BCDF2345 wk04','{"upload": "d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2", "findings": []}','78314110176a5dededd963a9fe542fa5bc7e9d470d7ef2796cf3df2f972bf846','7cf7306c345e058b01767694b65767a92f84dea4ddfd1d1dc70e2b375f985a7b');
INSERT INTO "audit" VALUES(8,'2026-11-29T15:17:06+00:00','root','','upload refused','BCDF2345 wk12','{"upload": "d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3", "reason": "no FLAIR"}','7cf7306c345e058b01767694b65767a92f84dea4ddfd1d1dc70e2b375f985a7b','98b43906741b34434888cffa62d2f8edb5bb7edcd700fab73d42bf9f23bbbf8c');
INSERT INTO "audit" VALUES(9,'2026-11-29T15:17:06+00:00','root','','scan analysed','BCDF2345 wk00','{}','98b43906741b34434888cffa62d2f8edb5bb7edcd700fab73d42bf9f23bbbf8c','9e256443562bfdceac068c4989fde52f2aa2f163a1ff4680c9c54e40b2bf8a09');
INSERT INTO "audit" VALUES(10,'2026-11-29T15:17:06+00:00','root','','scan failed','BCDF2345 wk04','{"reason": "no brain found"}','9e256443562bfdceac068c4989fde52f2aa2f163a1ff4680c9c54e40b2bf8a09','7f997c3886c8da70bdac55e34381c79a5ff41ede63e870229b4d4c66e6b62a6a');
INSERT INTO "audit" VALUES(11,'2026-11-29T15:17:06+00:00','root','R1','read','BCDF2345 wk00','{"status": "confirmed", "accepted": 3, "rejected": 1, "voxels_added": 12, "voxels_erased": 2, "digest": "abababababababababababababababababababababababababababababababab"}','7f997c3886c8da70bdac55e34381c79a5ff41ede63e870229b4d4c66e6b62a6a','fc7e67d239867210f3580eab0bd8d826678bcd591e712217facb5ddc5d05163d');
INSERT INTO "audit" VALUES(12,'2026-11-29T15:17:06+00:00','root','R1','read locked','BCDF2345 wk00','{"digest": "abababababababababababababababababababababababababababababababab"}','fc7e67d239867210f3580eab0bd8d826678bcd591e712217facb5ddc5d05163d','c7a01ae0101f868cddbc3e3dbb500b96eb06747d5fe872ebef4670430d16037e');
CREATE TABLE reads (
	subject VARCHAR(16) NOT NULL, 
	visit VARCHAR(32) NOT NULL, 
	reader VARCHAR(64) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	accepted INTEGER NOT NULL, 
	rejected INTEGER NOT NULL, 
	voxels_added INTEGER NOT NULL, 
	voxels_erased INTEGER NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	PRIMARY KEY (subject, visit, reader), 
	FOREIGN KEY(subject) REFERENCES subjects (code)
);
INSERT INTO "reads" VALUES('BCDF2345','wk00','R1','locked',3,1,12,2,'abababababababababababababababababababababababababababababababab');
CREATE TABLE registry (
	version INTEGER NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "registry" VALUES(2);
CREATE TABLE scanners (
	id INTEGER NOT NULL, 
	site VARCHAR(16) NOT NULL, 
	manufacturer VARCHAR(200) NOT NULL, 
	model VARCHAR(200) NOT NULL, 
	software VARCHAR(200) NOT NULL, 
	field_strength_t DOUBLE NOT NULL, 
	serial_digest VARCHAR(64) NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (site, manufacturer, model, software, field_strength_t, serial_digest), 
	FOREIGN KEY(site) REFERENCES sites (code)
);
INSERT INTO "scanners" VALUES(1,'S01','Maker','Model','v1',1.5,'abababababababab');
CREATE TABLE scans (
	subject VARCHAR(16) NOT NULL, 
	visit VARCHAR(32) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	upload_digest VARCHAR(64), 
	scanner INTEGER, 
	profile JSON NOT NULL, 
	findings JSON NOT NULL, 
	PRIMARY KEY (subject, visit), 
	FOREIGN KEY(subject) REFERENCES subjects (code), 
	FOREIGN KEY(scanner) REFERENCES scanners (id)
);
INSERT INTO "scans" VALUES('BCDF2345','wk00','analysed','d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1',1,'{"software": "v1"}','["thick slices"]');
INSERT INTO "scans" VALUES('BCDF2345','wk04','failed','d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2',1,'{}','[]');
INSERT INTO "scans" VALUES('BCDF2345','wk12','refused','d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3',NULL,'{}','["no FLAIR"]');
CREATE TABLE sites (
	code VARCHAR(16) NOT NULL, 
	gate VARCHAR(16) NOT NULL, 
	dummy_run_digest VARCHAR(64), 
	gate_at VARCHAR(32), 
	PRIMARY KEY (code)
);
INSERT INTO "sites" VALUES('S01','accepted','d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0','2026-11-29T15:17:06+00:00');
INSERT INTO "sites" VALUES('S02','none',NULL,NULL);
CREATE TABLE subjects (
	code VARCHAR(16) NOT NULL, 
	site VARCHAR(16) NOT NULL, 
	PRIMARY KEY (code), 
	FOREIGN KEY(site) REFERENCES sites (code)
);
INSERT INTO "subjects" VALUES('BCDF2345','S01');
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit WHEN NEW.seq <= (SELECT max(seq) FROM audit) BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
COMMIT;
